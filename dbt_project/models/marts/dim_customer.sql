with

    versions as (select * from {{ ref("int_customer_versions") }}),

    known as (

        select
            customer_key,
            customer_id,
            first_name,
            last_name,
            email_hash,
            phone_hash,
            city,
            region,
            postal_code,
            segment_code,
            age_band,
            income_band,
            created_at,
            valid_from,
            valid_to,
            is_current,
            is_deleted
        from versions

    ),

    unknown as (

        select
            {{ unknown_key() }} as customer_key,
            cast(null as {{ id_type() }}) as customer_id,
            'unknown' as first_name,
            'customer' as last_name,
            cast(null as varchar) as email_hash,
            cast(null as varchar) as phone_hash,
            cast(null as varchar) as city,
            cast(null as varchar) as region,
            cast(null as varchar) as postal_code,
            cast(null as varchar) as segment_code,
            cast(null as varchar) as age_band,
            cast(null as varchar) as income_band,
            cast(null as timestamptz) as created_at,
            {{ beginning_of_time() }} as valid_from,
            {{ end_of_time() }} as valid_to,
            true as is_current,
            false as is_deleted

    ),

    final as (

        select *
        from known
        union all
        select *
        from unknown

    )

select *
from final
