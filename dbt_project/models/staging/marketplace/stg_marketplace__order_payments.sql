with

    source as (select * from {{ source("marketplace", "order_payments") }}),

    renamed as (

        select
            order_id,
            cast(payment_sequential as integer) as payment_number,
            payment_type as payment_type_code,
            cast(payment_installments as integer) as instalment_count,
            payment_value as payment_amount,
            _loaded_at
        from source

    )

select *
from renamed
