with

    versions as (select * from {{ ref("int_product_versions") }}),

    known as (

        select
            product_key,
            product_id,
            product_name,
            coalesce(department_name, 'unknown department') as department_name,
            category_name,
            brand_name,
            package_size,
            unit_price_amount,
            unit_cost_amount,
            is_active,
            created_at,
            valid_from,
            valid_to,
            is_current,
            is_deleted
        from versions

    ),

    unknown as (

        select
            {{ unknown_key() }} as product_key,
            cast(null as {{ id_type() }}) as product_id,
            'unknown product' as product_name,
            'unknown department' as department_name,
            cast(null as varchar) as category_name,
            cast(null as varchar) as brand_name,
            cast(null as varchar) as package_size,
            cast(null as decimal(12, 2)) as unit_price_amount,
            cast(null as decimal(12, 2)) as unit_cost_amount,
            false as is_active,
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
