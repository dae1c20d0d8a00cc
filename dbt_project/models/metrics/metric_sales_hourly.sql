{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        on_schema_change="fail",
        pre_hook="{{ delete_written_days('sold_at') }}",
        post_hook="{{ remember_written() }}",
    )
}}

{% set days = written_days(ref("fct_sales"), "ordered_at") %}

with

    sales as (select * from {{ ref("fct_sales") }} where {{ on_days("ordered_at", days) }}),

    final as (

        select
            {{ utc_hour("ordered_at") }} as sold_at,
            -- -1: the order of the line is not known (yet)
            coalesce(store_id, -1) as store_id,
            count(distinct order_id) as order_count,
            count(*) as line_count,
            cast(sum(quantity) as bigint) as quantity,
            cast(sum(sales_amount) as decimal(18, 2)) as sales_amount,
            cast(sum(discount_amount) as decimal(18, 2)) as discount_amount,
            cast(sum(net_amount) as decimal(18, 2)) as net_amount
        from sales
        group by 1, 2

    )

select *
from final
